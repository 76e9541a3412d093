"""One file for each verb; each has `command`, loaded when called."""
