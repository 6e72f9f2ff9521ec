"""What people do: funnels, retention, paths, lifecycle, stickiness, trends, segments."""
