"""A complaint's way from a telephone to the authority that is responsible, played for real (`make scene`)."""
