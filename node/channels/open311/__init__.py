"""Open311 GeoReport v2 (docs/channels-open311.md): a complaint as a service request, and back.

`services`, `documents`, `moments`, `queries`, `reports`, `mapping` are pure. `endpoint` answers calls on a `Desk`:
`node_desk` is a local node, `hub_desk` the hub. `http` and `discovery` are the way in.
"""
