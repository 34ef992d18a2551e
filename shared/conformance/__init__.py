"""The frame of the conformance kits: checks, verdicts on two axes, reports, and the customer's page to trace to."""
