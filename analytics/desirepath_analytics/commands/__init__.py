"""The commands of the analytics package; `desirepath.cli` finds them through entry points."""
