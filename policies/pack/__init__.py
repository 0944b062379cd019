"""Rules of the policy pack and the snapshot that they check. Uses the standard library only."""
