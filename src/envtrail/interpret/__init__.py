"""From events to what somebody did: actors, lineage, operations, runs, sessions. Pure: values in, values out."""
