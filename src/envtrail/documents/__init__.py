"""ECS documents of what a trail holds."""
