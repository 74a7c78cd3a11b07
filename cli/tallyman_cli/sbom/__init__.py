"""The SBOM of an image: what its layers hold, and the document that says so."""
