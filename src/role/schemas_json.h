/* src/role/schemas.json inside the program: zero-terminated text. */
#ifndef SONDE_ROLE_SCHEMAS_JSON_H
#define SONDE_ROLE_SCHEMAS_JSON_H

extern const char schemas_json[];

#endif
