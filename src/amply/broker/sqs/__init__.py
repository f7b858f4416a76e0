"""SQS's words: shapes, actions, attributes, limits, faults, names, digests, receipt handles. Data and pure checks."""
