"""Where SQS is for a command that asks it without boto3, and who asks: this machine's broker takes any keys."""

from amply import settings
from amply.cli.workers_environment import local_credentials
from amply.transport.endpoint import Endpoint, resolve


def sqs_endpoint(endpoint_url: str | None, region: str) -> Endpoint:
    """SQS at a URL, or Amazon's for the region where that is None. On this machine missing credentials are made up."""
    local = local_credentials(endpoint_url, region, settings.child_environment({}))
    return resolve(
        endpoint_url=endpoint_url,
        region=region,
        userid=local.get("AWS_ACCESS_KEY_ID"),
        password=local.get("AWS_SECRET_ACCESS_KEY"),
    )
