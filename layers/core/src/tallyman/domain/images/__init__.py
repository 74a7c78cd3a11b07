"""Images as bytes: manifests, their composition, platforms, referrers, versions."""
