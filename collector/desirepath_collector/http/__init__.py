"""The collector's HTTP side: routes, request bodies, answers."""
