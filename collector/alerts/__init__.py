"""Alerts: rules, their evaluation, the life of an alert, and its delivery.

Read in this order: rules.py and rule_file.py (what a person writes), evaluator.py (when it is judged, by
threshold_judge.py and release_judge.py), lifecycle.py (what a judgement does to an alert), book.py (where
alerts, silences and the outbox are kept), sender.py (how notifications leave).
"""
