"""The policy: language, files, verdicts, grants, approvals, triage."""
