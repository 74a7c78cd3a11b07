"""Images: manifests, composition, verification, provenance, SBOMs, referrers, versions."""
