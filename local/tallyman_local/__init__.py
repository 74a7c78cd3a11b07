"""The local cloud: every AWS service that Tallyman needs, in one process, on loopback.

`cloud.Cloud` builds it; docs/local-cloud.md says how to use it, docs/local-ecr.md what its ECR does.
"""
