"""Parts that the components share; not a public interface."""
