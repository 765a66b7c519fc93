"""Tracker clients and an embedded tracker."""
