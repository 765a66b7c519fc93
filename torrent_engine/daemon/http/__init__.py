"""The HTTP server: uvicorn's protocol with deadlines and caps; knows no route and no framework."""
