"""Clients and what they wait for, watch and are told."""
