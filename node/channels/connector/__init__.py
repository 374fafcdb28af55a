"""Other complaint systems (Surga, LaporGub, …): what they report comes in, what becomes of it goes back, signed."""
