"""The collector: stores reports, judges, answers the gate."""
