"""HTTP: client, proxies, pacing."""
