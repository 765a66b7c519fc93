"""Pauses of background work that another task can end early, for who may not import the engine."""

from torrent_engine.engine.timers import Alarm

__all__ = ["Alarm"]
