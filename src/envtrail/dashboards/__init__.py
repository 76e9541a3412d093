"""Saved objects for Kibana, OpenSearch Dashboards and Grafana."""
