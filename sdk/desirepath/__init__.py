"""Desirepath: behavioural analytics from one tracking plan. This package is the SDK."""

__all__: list[str] = []
