"""Predictions: how likely each person is to do an event within a horizon.

from desirepath_analytics import connect
from desirepath_analytics.predict import Propensity

model = Propensity("Order Completed", horizon="14d").train(connect("./data"))
model.report.model.auc; model.report.figure(); model.score(warehouse).frame
"""

from desirepath_analytics.predict.model import TrainedModel, train
from desirepath_analytics.predict.report import Report
from desirepath_analytics.predict.scores import Score, Scores
from desirepath_analytics.predict.spec import Population, Propensity
from desirepath_analytics.predict.store import load, load_card, save, saved

__all__ = [
    "Population",
    "Propensity",
    "Report",
    "Score",
    "Scores",
    "TrainedModel",
    "load",
    "load_card",
    "save",
    "saved",
    "train",
]
