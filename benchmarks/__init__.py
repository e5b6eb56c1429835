"""How fast the rooms are: `make bench`. Each figure stands beside a floor that the same run measured."""
