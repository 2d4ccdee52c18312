"""The exercises of the course: each module checks the answers to one notebook's."""
