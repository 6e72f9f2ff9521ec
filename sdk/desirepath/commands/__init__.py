"""The commands of the `desirepath` command line that need the SDK alone."""
