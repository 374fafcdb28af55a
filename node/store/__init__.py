"""Tables, migrations and the stores behind the ports."""
