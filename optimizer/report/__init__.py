"""How it is told: tables for people, records for programs."""
