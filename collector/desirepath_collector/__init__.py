"""The collector: takes events in, says what became of each, and owns the warehouse's tables."""
