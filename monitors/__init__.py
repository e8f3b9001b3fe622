"""Health metrics, rules, alerts and drift; nothing is here yet."""
