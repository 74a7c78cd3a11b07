"""The local cloud: every AWS service that Tallyman needs, in one process, on loopback.

`cloud.Cloud` puts it together; DESIGN §13 says what is moto's and what is ours, docs say how to use it.
"""
