"""From a question to SQL: pure functions, every value bound, names from a closed list."""
