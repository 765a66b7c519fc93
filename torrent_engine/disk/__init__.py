"""Files and the resume database."""
