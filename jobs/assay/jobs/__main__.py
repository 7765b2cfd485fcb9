"""`python -m assay.jobs` is the `assay` command."""

from assay.jobs.cli import run

run()
