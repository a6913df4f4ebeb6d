# A rule of the hospital's own, beside those of the program: no database has a public address.
package databases

import rego.v1

deny contains finding if {
	some resource in input.resources
	resource.type == "aws_db_instance"
	resource.values.publicly_accessible == true
	finding := {
		"msg": sprintf("%s has a public address", [resource.address]),
		"address": resource.address,
		"file": resource.file,
		"instead": "publicly_accessible = false",
	}
}
