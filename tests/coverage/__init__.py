"""Every operation of the Client-Server API, asked and judged by the specification's own schemas."""
