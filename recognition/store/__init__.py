"""Where galleries are kept: their records, the SQLite file and Milvus behind one protocol, and what is derived."""
