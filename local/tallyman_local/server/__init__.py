"""HTTP servers on loopback, and answers in AWS's protocols."""
