"""Makes `amply://` a broker URL in every process that imports kombu, without an import in the user's code.

kombu has no entry points for transports, but loads those for serializers (group `kombu.serializers`) as it is imported.
So this module must import nothing but kombu's table of transports, and `SERIALIZER` registers no serializer: only the
name of a content type that nobody uses.
"""

from kombu.transport import TRANSPORT_ALIASES

TRANSPORT_ALIASES.setdefault("amply", "amply.transport:Transport")

# kombu calls register(name, encoder, decoder, content_type); without an encoder nothing can be written with it.
SERIALIZER = (None, None, "application/x-amply")
