"""HTTP: connections, proxies, pacing."""
