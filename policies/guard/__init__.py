"""The rules of the policy pack and what they read. Uses the standard library only, so that the pack works anywhere."""
