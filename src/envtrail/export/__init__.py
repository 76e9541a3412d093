"""What leaves the machine: documents in ECS for Elasticsearch, OpenSearch and whoever collects JSON lines."""
