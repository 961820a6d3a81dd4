"""Stores of galleries: records, the SQLite file and Milvus behind one protocol, and derived files."""
