"""Audit rules: discover what to watch, plan, apply over netlink, read back, prove."""
