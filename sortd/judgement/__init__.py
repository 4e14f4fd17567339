"""Judgement: pure decisions, values in and values out."""
