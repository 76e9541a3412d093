"""Every way to change an environment, driven for real and written down independently of what is tested."""
